"""What was measured, for people: generated blocks of the documents, and one HTML page for trainings."""
