FROM small:test
ENV one=1 two="2 2" three='3 $one' four=4\ 4 five="say \"hi\""
ENV legacy form  with   $one and "quotes"
ENV one=new old=$one new=${one}
ENV default=${nothing:-fallback} alternative=${one:+set} empty=${nothing} escaped=\$one
ENV abc=hello def=$abc ghi=$def$abc
ENV PATH=/opt/bin:$PATH
RUN echo "$one|$two|$three|$four|$five|$legacy|$old|$new|$default|$alternative|$empty|$escaped|$def|$ghi|$PATH" > /words
