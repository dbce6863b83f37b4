"""Records: what is stored with a version and its run, described; one writer stores it."""
