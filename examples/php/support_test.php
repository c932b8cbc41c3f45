<?php
// What the test runs: php support_test.php HOST PORT work|batch|enqueue ...
require __DIR__ . '/WorkerMachine.php';
$machine = new WorkerMachine([$argv[1], (int) $argv[2], 5]);
$functions = [
    'double' => fn(int $n): int => 2 * $n,
    'refuse' => fn(int $n) => throw new RuntimeException("no $n today"),
    'sleep' => function (int $n): int { echo "started\n"; for ($until = microtime(true) + $n; microtime(true) < $until;) usleep(10_000); return getmypid(); },
];
match ($argv[3]) {
    'work' => $machine->work('php', $functions),
    'enqueue' => print $machine->enqueue('php', $argv[4], (int) $argv[5], array_filter(['max' => $argv[6] ?? null, 'h.note' => 'é & ~'])),
    'batch' => (function () use ($machine, $argv) {
        foreach ($machine->batch('php', $argv[4], range(1, (int) $argv[5]), 100) as $i => [$value, $failure]) echo json_encode([$i, $value, $failure['reason'] ?? null]), "\n";
    })(),
};
