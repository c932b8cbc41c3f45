<?php
// Titles of pages, on all workers of the queue:
//
//   php demo.php work &
//   php demo.php titles linuxfr.org php.net
require __DIR__ . '/WorkerMachine.php';
$url = parse_url(getenv('REDIS_URL') ?: 'redis://127.0.0.1:6379');
$machine = new WorkerMachine([$url['host'], $url['port'] ?? 6379, 5]);
$getTitle = function (string $site): string {
    $page = file_get_contents(str_contains($site, '://') ? $site : "https://$site") ?: throw new RuntimeException("no page at $site");
    return preg_match('~<title[^>]*>(.*?)</title>~is', $page, $found) ? html_entity_decode(trim($found[1])) : throw new RuntimeException("no title at $site");
};
match ($argv[1] ?? '') {
    'work' => $machine->work('web', ['getTitle' => $getTitle]),
    'titles' => (function () use ($machine, $argv) {
        foreach ($machine->batch('web', 'getTitle', array_slice($argv, 2)) as $i => [$title, $failure]) echo $argv[$i + 2], "\t", $title ?? $failure['message'], "\n";
    })(),
    'later' => print $machine->enqueue('web', 'getTitle', $argv[2]) . "\n",
    default => fwrite(STDERR, "php demo.php work | titles SITE... | later SITE\n") && exit(2),
};
