"""What happens to every call before and after its servicer, one concern a module, in the order of `chain.py`."""
