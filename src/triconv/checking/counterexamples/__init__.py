"""A counterexample as a program that runs without triconv; `counterexample_program` writes it."""
