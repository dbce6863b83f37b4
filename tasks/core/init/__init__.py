"""What ``evergreen init`` proposes for data nobody has described yet, and columns that give the target away."""
