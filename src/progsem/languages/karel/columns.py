"""What the columns of tables say that hold worlds (`execution.WorldStates.columns`): unit and meaning."""

INPUTS = OUTPUTS = {
    "cells": ("markers", "of each world, row by row, how many markers lie on a cell; 255 is a wall"),
    "poses": ("number", "of each world, the robot's row, column and heading (0 north, then clockwise)"),
}
