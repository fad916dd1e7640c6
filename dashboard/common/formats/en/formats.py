"""Django looks these names up. A time without its zone is nobody's: each says which one it is in."""

DATE_FORMAT = "Y-m-d"
DATETIME_FORMAT = "Y-m-d H:i e"
