-- FarmHash64 of a text's UTF-8 bytes, signed: what BigQuery calls FARM_FINGERPRINT.
-- Source: Pike, FarmHash, 2014 (farmhashna::Hash64), in 64-bit two's complement, which PostgreSQL lacks beyond bigint:
-- its + and * refuse to overflow, so both are done in halves here.

CREATE OR REPLACE FUNCTION aforo_add64(a bigint, b bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT ((((a >> 32) + (b >> 32) + (((a & 4294967295) + (b & 4294967295)) >> 32)) & 4294967295) << 32)
         | (((a & 4294967295) + (b & 4294967295)) & 4294967295)
$$;

CREATE OR REPLACE FUNCTION aforo_multiply64(a bigint, b bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN product > 9223372036854775807 THEN product - 18446744073709551616
              WHEN product < -9223372036854775808 THEN product + 18446744073709551616
              ELSE product END::bigint
  FROM (SELECT mod(a::numeric * b::numeric, 18446744073709551616)) AS wide(product)
$$;

CREATE OR REPLACE FUNCTION aforo_rotate64(a bigint, bits integer) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT ((a >> bits) & ((1::bigint << (64 - bits)) - 1)) | (a << (64 - bits))
$$;

-- a, xor itself shifted right by 47 without its sign.
CREATE OR REPLACE FUNCTION aforo_mix64(a bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT a # ((a >> 47) & 131071)
$$;

-- Eight bytes from a place on (the first is 0), the lowest first.
CREATE OR REPLACE FUNCTION aforo_fetch64(s bytea, place integer) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT get_byte(s, place)::bigint | (get_byte(s, place + 1)::bigint << 8) | (get_byte(s, place + 2)::bigint << 16)
       | (get_byte(s, place + 3)::bigint << 24) | (get_byte(s, place + 4)::bigint << 32)
       | (get_byte(s, place + 5)::bigint << 40) | (get_byte(s, place + 6)::bigint << 48)
       | (get_byte(s, place + 7)::bigint << 56)
$$;

CREATE OR REPLACE FUNCTION aforo_hash16(u bigint, v bigint, factor bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  a bigint := aforo_mix64(aforo_multiply64(u # v, factor));
BEGIN
  RETURN aforo_multiply64(aforo_mix64(aforo_multiply64(v # a, factor)), factor);
END
$$;

-- Two words of a block of 32 bytes from a place on, with two seeds.
CREATE OR REPLACE FUNCTION aforo_weak_hash32(s bytea, place integer, a bigint, b bigint) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  z bigint := aforo_fetch64(s, place + 24);
  start bigint := aforo_add64(a, aforo_fetch64(s, place));
  total bigint;
BEGIN
  b := aforo_rotate64(aforo_add64(aforo_add64(b, start), z), 21);
  total := aforo_add64(aforo_add64(start, aforo_fetch64(s, place + 8)), aforo_fetch64(s, place + 16));
  b := aforo_add64(b, aforo_rotate64(total, 44));
  RETURN ARRAY[aforo_add64(total, z), aforo_add64(b, start)];
END
$$;

CREATE OR REPLACE FUNCTION aforo_farm_fingerprint(content text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  k0 CONSTANT bigint := -4348849565147123417;  -- c3a5c85c97cb3127
  k1 CONSTANT bigint := -5435081209227447693;  -- b492b66fbe98f273
  k2 CONSTANT bigint := -7286425919675154353;  -- 9ae16a3b2f90404f
  s CONSTANT bytea := convert_to(content, 'UTF8');
  size CONSTANT integer := octet_length(s);
  factor bigint := aforo_add64(k2, 2 * size);
  a bigint; b bigint; c bigint; d bigint; e bigint; f bigint; g bigint; h bigint;
  x bigint; y bigint; z bigint;
  v bigint[] := ARRAY[0, 0];
  w bigint[] := ARRAY[0, 0];
  place integer := 0;
BEGIN
  IF size = 0 THEN
    RETURN k2;
  ELSIF size < 4 THEN
    y := get_byte(s, 0) + (get_byte(s, size / 2) << 8);
    z := size + (get_byte(s, size - 1) << 2);
    RETURN aforo_multiply64(aforo_mix64(aforo_multiply64(y, k2) # aforo_multiply64(z, k0)), k2);
  ELSIF size < 8 THEN
    a := aforo_fetch64(s || '\x00000000', 0) & 4294967295;
    b := aforo_fetch64(s || '\x00000000', size - 4) & 4294967295;
    RETURN aforo_hash16(size + (a << 3), b, factor);
  ELSIF size <= 16 THEN
    a := aforo_add64(aforo_fetch64(s, 0), k2);
    b := aforo_fetch64(s, size - 8);
    c := aforo_add64(aforo_multiply64(aforo_rotate64(b, 37), factor), a);
    d := aforo_multiply64(aforo_add64(aforo_rotate64(a, 25), b), factor);
    RETURN aforo_hash16(c, d, factor);
  ELSIF size <= 64 THEN
    a := aforo_multiply64(aforo_fetch64(s, 0), CASE WHEN size <= 32 THEN k1 ELSE k2 END);
    b := aforo_fetch64(s, 8);
    c := aforo_multiply64(aforo_fetch64(s, size - 8), factor);
    d := aforo_multiply64(aforo_fetch64(s, size - 16), k2);
    y := aforo_add64(aforo_add64(aforo_rotate64(aforo_add64(a, b), 43), aforo_rotate64(c, 30)), d);
    z := aforo_hash16(y, aforo_add64(aforo_add64(a, aforo_rotate64(aforo_add64(b, k2), 18)), c), factor);
    IF size <= 32 THEN
      RETURN z;
    END IF;
    e := aforo_multiply64(aforo_fetch64(s, 16), factor);
    f := aforo_fetch64(s, 24);
    g := aforo_multiply64(aforo_add64(y, aforo_fetch64(s, size - 32)), factor);
    h := aforo_multiply64(aforo_add64(z, aforo_fetch64(s, size - 24)), factor);
    RETURN aforo_hash16(
      aforo_add64(aforo_add64(aforo_rotate64(aforo_add64(e, f), 43), aforo_rotate64(g, 30)), h),
      aforo_add64(aforo_add64(e, aforo_rotate64(aforo_add64(f, a), 18)), g), factor);
  END IF;

  x := aforo_add64(aforo_multiply64(81, k2), aforo_fetch64(s, 0));
  y := aforo_add64(aforo_multiply64(81, k1), 113);
  z := aforo_multiply64(aforo_mix64(aforo_add64(aforo_multiply64(y, k2), 113)), k2);
  factor := k1;
  e := 1;  -- what the two lines that differ in the last round multiply by
  LOOP
    x := aforo_multiply64(aforo_rotate64(
           aforo_add64(aforo_add64(aforo_add64(x, y), v[1]), aforo_fetch64(s, place + 8)), 37), factor);
    y := aforo_multiply64(aforo_rotate64(
           aforo_add64(aforo_add64(y, v[2]), aforo_fetch64(s, place + 48)), 42), factor);
    x := x # aforo_multiply64(w[2], e);
    y := aforo_add64(aforo_add64(y, aforo_multiply64(v[1], e)), aforo_fetch64(s, place + 40));
    z := aforo_multiply64(aforo_rotate64(aforo_add64(z, w[1]), 33), factor);
    v := aforo_weak_hash32(s, place, aforo_multiply64(v[2], factor), aforo_add64(x, w[1]));
    w := aforo_weak_hash32(s, place + 32, aforo_add64(z, w[2]), aforo_add64(y, aforo_fetch64(s, place + 16)));
    a := x; x := z; z := a;
    EXIT WHEN e = 9;
    place := place + 64;
    IF place >= 64 * ((size - 1) / 64) THEN
      -- The last 64 bytes, which may overlap those before.
      factor := aforo_add64(k1, (z & 255) << 1);
      place := size - 64;
      w[1] := aforo_add64(w[1], (size - 1) & 63);
      v[1] := aforo_add64(v[1], w[1]);
      w[1] := aforo_add64(w[1], v[1]);
      e := 9;
    END IF;
  END LOOP;
  RETURN aforo_hash16(
    aforo_add64(aforo_add64(aforo_hash16(v[1], w[1], factor), aforo_multiply64(aforo_mix64(y), k0)), z),
    aforo_add64(aforo_hash16(v[2], w[2], factor), x), factor);
END
$$;
