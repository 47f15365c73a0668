"""Model weights.

`catalogue` says what there is, `store` where it lies, `pull` and `bundle` bring it here, `hardware` says what runs it.
"""
