"""Where the work runs: devices and their memory, replicas, and the processes of several hosts."""
