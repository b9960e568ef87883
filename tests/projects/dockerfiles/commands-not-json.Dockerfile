FROM small:test
RUN ['echo', 'no'] || echo "shell" > /words
CMD ['single', 'quotes']
