"""The best published recommenders beside ours: the same cases, judged by our evaluator."""
