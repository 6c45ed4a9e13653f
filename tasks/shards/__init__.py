"""What Bedrock is given: objects of records, and the index that tells whose they are."""
