FROM small:test
ENTRYPOINT exec cat $HOME
CMD echo one   two
