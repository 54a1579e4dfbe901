"""The map: families of matrices × sizes × preconditioners, measured, judged by rules and drawn."""
