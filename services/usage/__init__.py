"""Usage: the ledger of what models were used for, budgets, and reservations that keep spending within them."""
