"""The rows of the state machine, one module for each table. Only `aiframe.core.machine` is to be asked from outside.

What a person or a runner asks for raises Refused where it does not fit the state, and nothing has changed then.
"""
