/* Programs, memory and documents: strings that the trade needs and honest software has no use for. */

rule credential_dumper : tool {
  meta:
    threat = true
    family = "Credential dumper"
    behaviour = "reads passwords and tickets out of memory"
    points = 60
  strings:
    $a = "sekurlsa::logonpasswords" ascii wide nocase
    $b = "kerberos::golden" ascii wide nocase
    $c = "lsadump::dcsync" ascii wide nocase
    $d = "privilege::debug" ascii wide nocase
  condition:
    any of ($a, $b, $c) or ($d and #d > 1)
}

rule lsass_dump : memory {
  meta:
    threat = true
    family = "LSASS memory dump"
    behaviour = "holds the credentials of everybody who was signed in"
    points = 60
  strings:
    $lsass = "lsass.exe" wide ascii nocase
    $module = "lsasrv.dll" wide ascii nocase
  condition:
    uint32(0) == 0x504D444D and $lsass and $module
}

rule process_injector : program {
  meta:
    threat = true
    family = "Process injector"
    behaviour = "writes code into another process and starts it there"
    points = 40
  strings:
    $open = "OpenProcess" ascii
    $allocate = "VirtualAllocEx" ascii
    $write = "WriteProcessMemory" ascii
    $start = "CreateRemoteThread" ascii
    $native = "NtCreateThreadEx" ascii
  condition:
    uint16(0) == 0x5A4D and $open and $allocate and $write and ($start or $native)
}

rule reflective_loader : program {
  meta:
    threat = true
    family = "Reflective loader"
    behaviour = "loads itself into memory as no installed program does"
    points = 55
  strings:
    $export = "ReflectiveLoader" ascii
  condition:
    uint16(0) == 0x5A4D and $export
}

rule macro_that_runs : document {
  meta:
    threat = true
    family = "Macro document"
    behaviour = "starts a program when it is opened"
    points = 45
  strings:
    $auto = /\b(auto_?open|document_?open|workbook_open|autoexec)\b/ nocase ascii wide
    $run = /\b(shell\s*\(|wscript\.shell|shellexecute|createobject\s*\(|powershell|mshta|winhttp)/ nocase ascii wide
    $project = "vbaProject.bin" ascii
    $vba = "Attribut" ascii
  condition:
    (uint32(0) == 0xE011CFD0 or uint32(0) == 0x04034B50 or $vba in (0..4096)) and $auto and ($run or $project)
}

rule ransom_note : ransomware {
  meta:
    threat = true
    family = "Ransomware"
    behaviour = "asks to be paid for files that it has encrypted"
    points = 50
  strings:
    $done = /(your|all)\s+(of your\s+)?(important\s+)?(files|data|documents|network)\s+(have|has)\s+been\s+(encrypted|locked)/ nocase ascii wide
    $how = /(\.onion\b|bitcoin|monero|tor browser|decryption (key|tool)|decryptor)/ nocase ascii wide
  condition:
    $done and $how
}

rule antivirus_test_file : test {
  meta:
    threat = false
    family = "EICAR test file"
    behaviour = "does nothing: it tests whether a scanner works"
    points = 0
  strings:
    $name = "EICAR-STANDARD-ANTIVIRUS-TEST-FILE"
  condition:
    $name and filesize < 2KB
}
