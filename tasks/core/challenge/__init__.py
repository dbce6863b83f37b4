"""Champion against challenger: the same rows, the test, the rule, the budget."""
