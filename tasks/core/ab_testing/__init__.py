"""Live tests: a challenger against the champion on traffic, decided whenever it is checked."""
