"""Live tests: a challenger against the champion on traffic, decided at any look."""
