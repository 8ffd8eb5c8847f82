"""What a report says in words: the answer, the cautions, and its sections of tables and figures."""
