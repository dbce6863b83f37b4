"""What init proposes for data nobody has described yet."""
