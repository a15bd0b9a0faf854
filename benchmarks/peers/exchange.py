"""What crosses between our environment and the peers': the names and shapes both sides keep to.

    train.parquet       user_id, item_id, occurred_at or position     rows to learn from
    validation.parquet  the same, requested_at, target                histories of cases to choose by, and their answers
    cases.parquet       the same, requested_at                        histories of cases to rank; no answer is in it
    PEER/rankings.parquet  user_id, item_id, rank, score              the best `LISTED` of what a user does not have
    PEER/run.json          how they came about

A user is asked once, rows stand in the table's order, instants are unix seconds UTC.
"""

PEERS = ("sasrec", "esasrec", "hstu", "bert4rec", "ease", "ials", "item_knn")
LISTED = 400
"""How many items of a case are written: twice the ranks that count, for a tie that ends at place 400 or behind has an
expected rank past 200 wherever it begins."""
