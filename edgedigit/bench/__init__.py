"""How long inference and answers take on this machine, against budgets and beside what people use today."""
