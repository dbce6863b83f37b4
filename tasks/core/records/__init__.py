"""Records: what is kept with a version and its run, described; one writer stores it."""
