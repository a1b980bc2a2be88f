"""What is asked: protocols and data sets as files, checked to the last word."""
