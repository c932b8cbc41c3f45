<?php
// Reads the golden tasks from standard input, JSON with a task and its bytes in each line, and says which this client writes or reads otherwise.
require __DIR__ . '/WorkerMachine.php';
$wrong = 0;
while (($line = fgets(STDIN)) !== false) {
    $vector = json_decode($line, true, 512, JSON_THROW_ON_ERROR);
    $bytes = base64_decode($vector['bytes']);
    $fields = array_map('base64_decode', $vector['fields']);
    $task = new Task($vector['id'], $vector['function'], base64_decode($vector['payload']), $fields);
    $read = Task::decode($bytes);
    if ($task->encode() !== $bytes || $read?->encode() !== $bytes || $read->fields != $fields) {
        $wrong++;
        echo "$vector[name]: wrote " . json_encode($task->encode(), JSON_INVALID_UTF8_SUBSTITUTE) . ', want ' . json_encode($bytes, JSON_INVALID_UTF8_SUBSTITUTE) . "\n";
    }
}
exit($wrong > 0 ? 1 : 0);
