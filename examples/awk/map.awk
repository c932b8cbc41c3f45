# Lines in, a line of word, tab and 1 for each word out.
{
	n = split(tolower($0), words, /[^a-z]+/)
	for (i = 1; i <= n; i++)
		if (words[i] != "") print words[i] "\t" 1
}
