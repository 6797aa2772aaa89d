"""How an answer is found, worded and checked: pure functions over passages, vectors and likelihoods."""
