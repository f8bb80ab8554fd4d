;; Fails unless every way out of the three directories is closed.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink"
    (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory"
    (func $mkdir (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get"
    (func $prestat (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "../etc/passwd")
  (data (i32.const 32) "/etc/passwd")
  (data (i32.const 48) "a/../../a")
  (data (i32.const 64) "..")
  (data (i32.const 80) "link")
  (data (i32.const 96) "written")
  (func $must_fail (param $fd i32) (param $path i32) (param $size i32) (param $how i32)
    (if (i32.eqz (call $open (local.get $fd) (i32.const 1) (local.get $path) (local.get $size)
          (local.get $how) (i64.const 0x3fffffff) (i64.const 0x3fffffff) (i32.const 0)
          (i32.const 0)))
      (then unreachable)))
  (func (export "_start") (local $fd i32)
    (local.set $fd (i32.const 3))
    (loop $each
      (call $must_fail (local.get $fd) (i32.const 16) (i32.const 13) (i32.const 0))
      (call $must_fail (local.get $fd) (i32.const 32) (i32.const 11) (i32.const 0))
      (call $must_fail (local.get $fd) (i32.const 48) (i32.const 9) (i32.const 0))
      (call $must_fail (local.get $fd) (i32.const 64) (i32.const 2) (i32.const 2))
      (if (i32.eqz (call $symlink (i32.const 32) (i32.const 11) (local.get $fd)
            (i32.const 80) (i32.const 4)))
        (then unreachable))
      (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
      (br_if $each (i32.le_u (local.get $fd) (i32.const 6))))
    ;; /input is not written, and nothing else was preopened
    (call $must_fail (i32.const 3) (i32.const 96) (i32.const 7) (i32.const 1))
    (if (i32.eqz (call $mkdir (i32.const 3) (i32.const 96) (i32.const 7))) (then unreachable))
    (if (i32.eqz (call $prestat (i32.const 7) (i32.const 0))) (then unreachable))))
