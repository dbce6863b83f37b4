"""The demonstration: one model's first reign on generated card payments, declared as synthetic."""
