"""The rows of the state machine, one module for each table. Only `aiframe.core.machine` is to be asked from outside."""
