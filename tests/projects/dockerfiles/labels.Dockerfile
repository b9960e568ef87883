FROM small:test
LABEL one=1 "two words"="a value" three=a\
b multi.line="first \
second"
LABEL legacy with several words
LABEL one=2 empty= quoted="'"
MAINTAINER Ana Example <ana@example.org>
