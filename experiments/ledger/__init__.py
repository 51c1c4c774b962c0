"""The ledger: figures of papers, reproduced by commands or honestly missed; `jaxgen reproduce NAME` makes a row."""
