"""What a survey keeps of every unit: one file each."""
