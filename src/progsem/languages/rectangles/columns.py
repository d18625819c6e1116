"""What the columns of tables say that hold inputs and outputs (`execution.Sides.columns`): unit and meaning."""

INPUTS = {"points": ("number", "of each list, row and column of every point; 255 where the list has no more")}
OUTPUTS = INPUTS | {
    "sides": ("class", "of each list, whether a point is outside (0) or inside (1); 2 where the list has no more")
}
