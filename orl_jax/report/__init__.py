"""What a person sees at the end of a run: the terminal table and `report.html`."""
