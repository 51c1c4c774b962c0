"""Against other libraries, which `pip install -e ".[benchmarks]"` installs; each contender runs in a process of its own."""
