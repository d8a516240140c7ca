"""What leaves a trial: student folders, cards, measured costs."""
