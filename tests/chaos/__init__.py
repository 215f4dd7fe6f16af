"""The ledger harness: the real stack, a load, faults by signals, and a comparison row by row."""
