"""What ``evergreen init`` proposes for data that is not described yet, and columns that give the target away."""
