;; Writes to a file in /output until that fails, and aborts.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "x")
  (func (export "_start")
    (if (call $open (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)
          (i64.const 64) (i64.const 64) (i32.const 0) (i32.const 8))
      (then (return)))
    (i32.store (i32.const 16) (i32.const 4096))
    (i32.store (i32.const 20) (i32.const 16384))
    (loop $more
      (br_if $more (i32.eqz
        (call $write (i32.load (i32.const 8)) (i32.const 16) (i32.const 1) (i32.const 24)))))
    unreachable))
