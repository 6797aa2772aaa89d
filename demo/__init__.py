"""The demo organization: the help centre of an invented shop and the questions it is measured with."""
