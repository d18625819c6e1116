"""What each stage of the workflow costs here, beside an honest baseline and what the hardware would allow."""
