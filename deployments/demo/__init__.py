"""The demonstration: one model's first months on generated card payments, declared as synthetic."""
