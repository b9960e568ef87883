# A comment, not a directive: there is a blank line below.

# escape=`
FROM small:test
RUN echo one \
    # a comment in a continuation

    && echo two \

    > /words
  # an indented comment
  RUN echo three   four >> /words
run echo "five \
      six" >> /words
