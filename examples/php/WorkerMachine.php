<?php
// A client and a worker of Worker Machine, with PHP's extension redis: PROTOCOL.md in code. A worker runs one task at a time: start several.
final class Task { // fields: what the header has besides, under its names there
    public function __construct(public string $id, public string $function, public string $payload, public array $fields = []) {}
    public function encode(): string {
        uksort($this->fields, fn($a, $b) => [strpos(' a max to re uq n d e h', " $a[0]"), $a] <=> [strpos(' a max to re uq n d e h', " $b[0]"), $b]);
        $escape = fn($name) => " $name=" . str_replace('%7E', '~', urlencode($this->fields[$name]));
        return "$this->id $this->function" . implode(array_map($escape, array_keys($this->fields))) . "\n$this->payload";
    }
    public function key(string $field, string $kind): array { return isset($this->fields[$field]) ? ["$kind:{$this->fields[$field]}"] : []; }
    public static function decode(string $text): ?self {
        if (!preg_match('/^([0-9A-HJKMNP-TV-Z]{26}) ([A-Za-z0-9][\w.-]{0,127})((?: [^ =\n]+=[^ \n]*)*)\n(.*)$/sD', $text, $found)) return null;
        preg_match_all('/ ([^=]+)=(\S*)/', $found[3], $pairs);
        return new self($found[1], $found[2], $found[4], array_combine($pairs[1], array_map('urldecode', $pairs[2])));
    }
}
final class WorkerMachine {
    private const LETTERS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
    private array $connections = [], $texts = [], $lanes = []; // queue => producer lane and its value
    /** $server is what Redis::connect takes: host, port, patience and so on. */
    public function __construct(private array $server = ['127.0.0.1', 6379, 5], private string $prefix = 'wm', private string $group = 'workers',
        private string $scripts = __DIR__ . '/../../internal/script/lua') {}
    public static function id(): string {
        return implode(array_map(fn($i) => self::LETTERS[($i < 0 ? random_int(0, 31) : (int) (microtime(true) * 1000) >> 5 * $i) & 31], range(9, -16)));
    }
    private function key(string $queue, string $name): string { return "$this->prefix:{{$queue}}:$name"; }
    /** call is one command on the connection $on. A RedisException means that the connection failed: it may have been done. */
    private function call(array $words, string $on = 'main'): mixed {
        try {
            if (!isset($this->connections[$on])) ($this->connections[$on] = new Redis())->connect(...$this->server);
            $answer = ($redis = $this->connections[$on])->rawCommand(...$words);
        } catch (RedisException $e) { unset($this->connections[$on]); throw $e; }
        $error = $redis->getLastError();
        return !$error ? $answer : throw new RuntimeException("$words[0]: $error", (int) $redis->clearLastError());
    }
    private function script(string $name, string $queue, array $keys, array $arguments, string $on = 'main'): mixed {
        $text = $this->texts[$name] ??= file_get_contents("$this->scripts/$name.lua");
        $rest = [count($keys), ...array_map(fn($key) => $this->key($queue, $key), $keys), ...$arguments];
        try { return $this->call(['EVALSHA', sha1($text), ...$rest], $on); }
        catch (RuntimeException $e) { return str_contains($e->getMessage(), 'NOSCRIPT') ? $this->call(['EVAL', $text, ...$rest], $on) : throw $e; }
    }
    /** again repeats a call that may be repeated, while the connection fails. */
    private function again(callable $call): mixed {
        for ($try = 0;; $try++) try { return $call(); } catch (RedisException $e) { $try < 8 ? usleep(random_int(0, 50_000 << $try)) : throw $e; }
    }
    /** store has tasks stored once, however often the answer is lost; false says that Redis has lost data, and nothing is stored. */
    private function store(string $queue, array $tasks): bool {
        if (!isset($this->lanes[$queue])) $this->again(fn() => $this->call(['SADD', "$this->prefix:queues", $queue]));
        [$lane, $value] = $this->lanes[$queue] ??= [self::id(), '0'];
        $answer = $this->again(fn() => $this->script('enqueue', $queue, ['tasks', "producer:$lane", 'counts'],
            [$value, (int) $value + count($tasks), 86_400_000, '', ...array_map(fn($task) => $task->encode(), $tasks)]));
        return null !== $this->lanes[$queue] = $answer[0] === 'GAP' ? null : [$lane, is_array($answer) ? $answer[1] : $answer];
    }
    /** enqueue stores a task and returns its ID. */
    public function enqueue(string $queue, string $function, mixed $input, array $fields = []): string {
        for ($task = new Task(self::id(), $function, json_encode($input, JSON_THROW_ON_ERROR), $fields); !$this->store($queue, [$task]););
        return $task->id;
    }
    /** batch yields the key of an input => [value, null] or [null, failure], as workers deliver them; $window are outstanding at most. */
    public function batch(string $queue, string $function, iterable $inputs, int $window = 500): Generator {
        [$session, $open, $last, $renewed, $source] = [self::id(), [], '0', 0, (fn() => yield from $inputs)()];
        try {
            while ($source->valid() || $open) {
                for ($new = []; $source->valid() && count($open) < $window; $source->next())
                    $open[$id = self::id()] = [$source->key(), $new[] = new Task($id, $function, json_encode($source->current(), JSON_THROW_ON_ERROR), ['re' => $session])];
                if (time() >= $renewed + 5) {
                    $lane = $this->lanes[$queue][0] ?? self::id();
                    [$there, $stored] = $this->again(fn() => $this->script('session', $queue, ["reply:$session", "context:$session", "producer:$lane"], [60_000]));
                    if ($renewed && (!$there || $stored < 0)) [$new, $last, $this->lanes[$queue]] = [array_column($open, 1), '0', null]; // Redis lost them
                    $renewed = time();
                }
                foreach (array_chunk($new, 100) as $tasks) while (!$this->store($queue, $tasks)) $renewed = 1; // and look at once for the others
                $answer = $this->again(fn() => $this->call(['XREAD', 'BLOCK', 1000, 'STREAMS', $this->key($queue, "reply:$session"), $last]));
                foreach ($answer[0][1] ?? [] as [$last, $fields])
                    foreach (array_chunk($fields, 2) as [$id, $text]) if (isset($open[$id]) && $text[0] !== '~') {
                        [$index, $value] = [$open[$id][0], json_decode(substr($text, 1), true)];
                        unset($open[$id]);
                        yield $index => $text[0] === '+' ? [$value, null] : [null, $value];
                    }
                if ($answer) $this->again(fn() => $this->call(['XTRIM', $this->key($queue, "reply:$session"), 'MINID', $last]));
            }
        } finally { $this->again(fn() => $this->call(['DEL', $this->key($queue, "reply:$session"), $this->key($queue, "context:$session")])); }
    }
    /** work runs tasks of the queue with functions, name => callable(mixed $input), until SIGTERM or SIGINT. */
    public function work(string $queue, array $functions, int $attempts = 25): void {
        [$me, $stop, $unsure, $looked, $present] = [gethostname() . '-' . getmypid() . '-' . self::id(), false, false, 0, true];
        try { $this->call(['SUBSCRIBE', $this->key($queue, "presence:$me")], 'presence'); } catch (RuntimeException) { $present = false; }
        $lease = json_encode(['host' => gethostname(), 'pid' => getmypid(), 'presence' => $present]);
        pcntl_signal(SIGALRM, $beat = function () use ($queue, $me, $lease) { // renews the lease, also while a function runs
            try { $this->script('heartbeat', $queue, ["lease:$me"], [10_000, $lease], 'pulse'); } catch (RedisException) {} finally { pcntl_alarm(3); }
        });
        foreach ([SIGTERM, SIGINT] as $signal) pcntl_signal($signal, function () use (&$stop) { $stop = true; });
        $run = fn($entry, $crashes = 0, $alone = 0) => $this->run($queue, $me, $functions, $attempts, [...$entry, $crashes, $alone]);
        for (pcntl_async_signals(true), $beat(); !$stop;) try {
            if (!$looked) [$this->script('group', $queue, ['tasks'], [$this->group]), $this->call(['SADD', "$this->prefix:queues", $queue])];
            if (time() > $looked) { // tasks that are due become entries, and those of the dead are taken over
                $this->script('promote', $queue, ['tasks', 'due', 'body', 'counts'], [100, $this->key($queue, 'reply:')]);
                foreach ($this->call(['XPENDING', $this->key($queue, 'tasks'), $this->group])[3] ?: [] as [$other]) {
                    $taken = $other === $me ? [] : $this->script('reclaim', $queue, ['tasks', "lease:$other", 'crashes', 'counts', 'control'],
                        [$this->group, $me, $other, 10, $other === 'released' ? 'released' : 'lease']);
                    foreach (array_chunk(array_slice($taken, 2), 3) as $one) $run(...$one);
                }
                $looked = time();
            }
            if (!in_array($this->call(['HGET', $this->key($queue, 'state'), 'paused']), [false, null, '', '0'], true)) { usleep(500_000); continue; }
            $answer = $this->call(['XREADGROUP', 'GROUP', $this->group, $me, 'COUNT', 1, 'BLOCK', 1000, 'STREAMS', $this->key($queue, 'tasks'), $unsure ? '0' : '>']);
            $unsure = $unsure && ($answer[0][1] ?? []); // after a read whose answer was lost, what it delivered is pending with this worker
            foreach ($answer[0][1] ?? [] as $entry) $run($entry);
        } catch (RuntimeException $e) { [$unsure, $looked] = [true, 0 & fwrite(STDERR, $e->getMessage() . "\n") & (int) usleep(random_int(0, 500_000))]; }
        pcntl_alarm(0);
        while ($this->again(fn() => $this->script('leave', $queue, ['tasks', "lease:$me", 'control'], [$this->group, $me, 100])));
    }
    private function run(string $queue, string $me, array $functions, int $attempts, array $taken): void {
        [[$entry, $fields, $crashes, $alone], $error] = [$taken, ''];
        $task = ($fields[0] ?? '') === 'v1' ? Task::decode($fields[1]) : null;
        if ($task->fields['n'] ?? 0) { $this->split($queue, $me, $entry, $task); return; }
        [$tries, $reply, $lock] = [$task->fields['a'] ?? 1, $task?->key('re', 'reply') ?? [], $task?->key('uq', 'unique') ?? []];
        $reason = !$task ? 'malformed' : ($crashes > 2 && $alone ? 'crash loop' : null);
        if (!$reason && $crashes > 1) $this->script('alone', $queue, ['crashes', 'tasks'], [$entry]);
        if (!$reason) try {
            $function = $functions[$task->function] ?? throw new RuntimeException("no function $task->function in this worker");
            $result = '+' . json_encode($function(json_decode($task->payload, true, 512, JSON_THROW_ON_ERROR)), JSON_THROW_ON_ERROR);
        } catch (Throwable $e) { [$error, $reason] = [$e->getMessage(), $tries < ($task->fields['max'] ?? $attempts) ? 'retry' : 'failed']; }
        $this->again(fn() => match ($reason) {
            null => $this->script('commit', $queue, ['tasks', "lease:$me", 'counts', 'crashes', ...$reply, ...$lock],
                [$this->group, '', 'done', 1, 1, $entry, 1, '', $task->id, $result, $reply ? 5 : 0, $lock ? 5 + count($reply) : 0]),
            'retry' => $this->script('retry', $queue, ['tasks', 'due', 'body', 'counts', 'crashes', 'control', ...$reply], [$this->group, $me, $entry, $task->id,
                'v1 ' . (new Task($task->id, $task->function, $task->payload, ['a' => $tries + 1, 'd' => 1, 'e' => substr($error, 0, 256)] + $task->fields))->encode(),
                random_int(1, min(600_000, 1000 << min($tries, 20))), 'retried']),
            default => $this->script('bury', $queue, ['tasks', 'dead', 'counts', 'crashes', $lock[0] ?? 'dead', $reply[0] ?? 'dead'], [$this->group, $me, $entry, $task?->id ?? '',
                '-' . json_encode(['function' => $task?->function ?? '', 'attempt' => (int) $tries, 'reason' => $reason, 'message' => $error]),
                ...($task ? $fields : ['raw', substr(json_encode($fields, JSON_INVALID_UTF8_SUBSTITUTE), 0, 4096)]), 'reason', $reason, 'error', $error, 'worker', $me, 'entry', $entry]),
        });
    }
    /** split makes the items of a chunk that are not settled yet tasks of their own. */
    private function split(string $queue, string $me, string $entry, Task $chunk): void {
        [$n, $at, $pack, $steps, $settled] = [(int) $chunk->fields['n'], 0, '', [], []];
        preg_match_all('/(\d+)-?(\d*)/', $known = $this->call(['HGET', $this->key($queue, 'chunks'), $entry]) ?: '', $ranges, PREG_SET_ORDER);
        foreach ($ranges as [, $from, $to]) array_push($settled, ...range($from, $to ?: $from));
        for ($i = 0; $i < $n; $i++, $at += $size) {
            for ($size = $shift = 0; $shift === 0 || $byte > 127; $shift += 7) $size |= (($byte = ord($chunk->payload[$at++])) & 127) << $shift;
            $pack .= ($done = in_array($i, $settled)) ? ".\0" : "~\0";
            for ($id = $chunk->id, $c = 25, $rest = strpos(self::LETTERS, $id[22]) << 15 | $i + 1; $c > 21; $c--, $rest >>= 5) $id[$c] = self::LETTERS[$rest & 31];
            $item = new Task($id, $chunk->function, substr($chunk->payload, $at, $size), array_diff_key($chunk->fields, ['n' => 0]));
            if (!$done) array_push($steps, 'task', $id, 1, $item->encode());
        }
        $this->again(fn() => $this->script('scatter', $queue, ['tasks', 'due', 'body', 'dead', 'counts', 'crashes', 'chunks', 'control', 'cancels', ...$chunk->key('re', 'reply')],
            [$this->group, $me, $entry, $chunk->id, isset($chunk->fields['re']) ? 10 : 0, 'own', $known, '', "=$n 0 m\n$pack", '', count($steps) / 4, ...$steps]));
    }
}
