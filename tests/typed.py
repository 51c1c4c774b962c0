"""What checks the types of the rooms' calls in the tests: beartype, to which a whole number is a number, as PEP 484 has it."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
