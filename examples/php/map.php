<?php
// Lines in, a line of word, tab and 1 for each word out.
while (($line = fgets(STDIN)) !== false) {
    foreach (preg_split('/[^a-z]+/', strtolower($line), -1, PREG_SPLIT_NO_EMPTY) as $word) {
        echo $word, "\t1\n";
    }
}
