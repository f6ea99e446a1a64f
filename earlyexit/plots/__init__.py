"""The figures: each module turns results into a table (its CSV), and the table into a picture."""
