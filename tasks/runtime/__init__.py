"""What all tasks share: the task decorator and retries, results, typed parameters, events."""
